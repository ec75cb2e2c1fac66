"""What an exhibit holds, in words: one table for the reader, the loader and the skeleton of a new one."""

PARTS = {
    "PREDICTION": 'PREDICTION (an exception type, Violated("..."), Hung(after_s=2) or Exhausted("memory"))',
    "broken": "broken(...), the way most people first write it",
    "fixed": "fixed(...), the same job, surviving",
    "scenario": "scenario(subject, lab), one story told to both",
}
