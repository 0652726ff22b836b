"""The workbook: test cases in; texts, scores, a person's judgements, a summary and a log of runs out.

The sheet with the test cases belongs to a person, and so do the judgements in it; the sheets `summary` and `runs` are
ours, and a hidden one, `judgements`, keeps the judgements by the texts that they were given to. From the lowest: cells,
opening, judgements, cases, adding, layout, results, runs, judging, charts, summary.
"""
