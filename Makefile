# make demo: the three scripts on assets/demo/, no Hub needed.   make test: the tests.   make lint: style.
# make test-slow: several processes, and a run killed 24 times; takes some minutes.
# make test-newest: the tests with the newest versions that the ranges allow, in a venv of their own.
# make lock: renews constraints.txt, the versions of demo and tests.
# make benchmarks: speed and memory, in about 45 minutes; DATASET and MODEL are what processing_meta_review.py takes.
PYTHON ?= python3
# Of the demo, the tests and the benchmarks, so that they repeat; users keep the versions that their machine has.
LOCKED = --constraint constraints.txt
BIN = .venv/bin
NEWEST = .venv-newest/bin/python
DEMO = demo_output
DEMO_DATA = --processed_dir $(DEMO)/processed_meta_review --tokenized_dir $(DEMO)/tokenized_meta_review

DATASET = zqz979/meta-review
MODEL = EleutherAI/pythia-70m
MEASURED = benchmark_results
ROWS = --tokenized_dir $(MEASURED)/tokenized

.PHONY: demo test test-slow test-newest lint benchmarks lock clean

demo: .venv/installed
	rm -rf $(DEMO) && mkdir $(DEMO)
	HF_HUB_OFFLINE=1 $(BIN)/python processing_meta_review.py --dataset assets/demo/reviews --model assets/demo/tiny \
	    $(DEMO_DATA)
	HF_HUB_OFFLINE=1 $(BIN)/python fine_tune.py $(DEMO_DATA) --output_dir $(DEMO)/demo_finetuned \
	    --epochs 2 --learning_rate 1e-3
	HF_HUB_OFFLINE=1 $(BIN)/python evaluation.py --model $(DEMO)/demo_finetuned \
	    --processed_dir $(DEMO)/processed_meta_review --num_examples 100 --batch_size 25 --output $(DEMO)/eval_test.xlsx
	$(BIN)/python assets/demo/build.py --score $(DEMO)/eval_test.xlsx
	@echo "Look at: $(DEMO)/eval_test.xlsx  $(DEMO)/demo_finetuned/loss_curve.png  $(DEMO)/demo_finetuned/README.md"

# One thread for each process: two would be in each other's way.
TEST = -m pytest tests -m "not slow" -n 2 --dist loadfile

test: .venv/installed-tests
	OMP_NUM_THREADS=1 $(BIN)/python $(TEST)

test-newest:
	test -x $(NEWEST) || $(PYTHON) -m venv .venv-newest
	$(NEWEST) -m pip install --quiet --upgrade --upgrade-strategy eager --requirement tests/requirements.txt
	OMP_NUM_THREADS=1 $(NEWEST) $(TEST)

test-slow: .venv/installed-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -m slow

lint: .venv/installed-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

benchmarks: .venv/installed-tests
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt $(LOCKED)
	$(BIN)/python processing_meta_review.py --dataset $(DATASET) --model $(MODEL) \
	    --processed_dir $(MEASURED)/processed --tokenized_dir $(MEASURED)/tokenized
	$(BIN)/python benchmarks/training.py --rows 16 $(ROWS)
	$(BIN)/python benchmarks/generation.py --rows 16 --rounds 2 $(ROWS)
	$(BIN)/python benchmarks/processing.py --dataset_name $(DATASET) --tokenizer $(MODEL) --rounds 2
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/attention.py --rounds 2
	$(BIN)/python benchmarks/picture.py

.venv/installed: requirements.txt constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt $(LOCKED)
	touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt constraints.txt
	$(BIN)/python -m pip install --quiet --requirement tests/requirements.txt $(LOCKED)
	touch $@

lock:  # the newest versions within the ranges, in constraints.txt
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --requirement tests/requirements.txt
	(grep '^#' constraints.txt; .venv-lock/bin/python -m pip list --format=freeze --exclude pip --exclude setuptools \
	    | sed 's/+.*//') > constraints.new && mv constraints.new constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-newest $(DEMO)
