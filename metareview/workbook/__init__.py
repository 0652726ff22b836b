"""The workbook: test cases, judgments, results, runs, summary."""
