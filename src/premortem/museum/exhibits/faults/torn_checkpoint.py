"""A checkpoint torn by a crash stops every later start.

Cause:       save() truncates the only good copy, then writes; the process dies in between.
Effect:      The next start reads half a document, or none, cannot resume, and crash-loops until somebody comes.
Fix:         Write a draft beside it, fsync the draft, rename it over the old one, fsync the folder.
Prevention:  Sweep every writer: premortem sweep kills it at each of its system calls.
"""

import json
import os

from premortem.experiment import run_alone

NEEDS = ("syscalls",)
PREDICTION = json.JSONDecodeError


def broken(path, state):
    """Write the state down."""
    with path.open("w") as file:
        json.dump(state, file)


def fixed(path, state):
    """Write the state down beside the old one, and put it in the old one's place when it is safe."""
    draft = path.with_suffix(".draft")
    with draft.open("w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def scenario(save, lab):
    """A first state is saved; the second save dies at each of its system calls in turn; the next start reads."""
    path = lab.folder / "checkpoint.json"
    save(path, {"done": 1})
    for crash in lab.every_crash(save, path, {"done": 2}):
        with lab.as_subject():
            found = json.loads(path.read_text())
        lab.check("it is one of the two states", found in ({"done": 1}, {"done": 2}), f"{crash.recipe}: {found}")


if __name__ == "__main__":
    run_alone(__file__)
