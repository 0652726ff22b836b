# make demo: the three scripts on assets/demo/, no Hub needed.   make test: the tests.   make lint: style.
# make test-faults: a run killed 24 times; takes some minutes.
PYTHON ?= python3
BIN = .venv/bin
DEMO = demo_output
DEMO_MODEL = assets/demo/model
DEMO_DATA = --dataset_name $(DEMO)/processed_meta_review --tokenized_dir $(DEMO)/tokenized_meta_review

.PHONY: demo test test-faults lint clean

demo: .venv/installed
	rm -rf $(DEMO) && mkdir $(DEMO)
	HF_HUB_OFFLINE=1 $(BIN)/python processing_meta_review.py --dataset_name assets/demo/data \
	    --model_name_or_path $(DEMO_MODEL) --max_summary_tokens 256 \
	    --output_dir $(DEMO)/processed_meta_review --tokenized_dir $(DEMO)/tokenized_meta_review
	HF_HUB_OFFLINE=1 $(BIN)/python fine_tune.py $(DEMO_DATA) --model_name_or_path $(DEMO_MODEL) \
	    --max_summary_tokens 256 --output_dir $(DEMO)/demo_finetuned --num_train_epochs 2 --learning_rate 1e-3
	HF_HUB_OFFLINE=1 $(BIN)/python evaluation.py --model_name_or_path $(DEMO)/demo_finetuned \
	    --dataset_name $(DEMO)/processed_meta_review --num_examples 100 --max_new_tokens 128 --batch_size 25 \
	    --output $(DEMO)/eval_test.xlsx
	$(BIN)/python assets/demo/build.py --score $(DEMO)/eval_test.xlsx
	@echo "Look at: $(DEMO)/eval_test.xlsx  $(DEMO)/demo_finetuned/loss_curve.png  $(DEMO)/demo_finetuned/README.md"

test: .venv/installed-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -m "not faults" -n 2 --dist loadfile  # one thread each: two would be in each other's way

test-faults: .venv/installed-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_faults.py -s

lint: .venv/installed-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement tests/requirements.txt
	touch $@

clean:
	rm -rf .venv $(DEMO)
