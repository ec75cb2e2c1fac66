"""A file that was replaced without fsync is empty after a power loss.

Cause:       The rename reaches the disk before the data of the file that was renamed; the kernel promises no order.
Effect:      After the power came back the file has its new name and no content. The process never failed.
Fix:         fsync the draft before the rename, and the folder after it.
Prevention:  Hand every state that a disk may be left in to the reader: premortem sweep with power losses.
"""

import json
import os

from premortem.experiment import run_alone

NEEDS = ("syscalls",)
PREDICTION = json.JSONDecodeError


def broken(path, state):
    """Write a draft and put it in the old one's place, which looks safe."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(state))
    draft.replace(path)


def fixed(path, state):
    """The same, and wait for the disk before and after."""
    draft = path.with_suffix(".draft")
    with draft.open("w") as file:
        file.write(json.dumps(state))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def scenario(save, lab):
    """A first state is safe; the power fails during the second save; each disk that may be left is read."""
    path = lab.folder / "checkpoint.json"
    save(path, {"done": 1})
    for disk in lab.every_power_loss(save, path, {"done": 2}):
        with lab.as_subject():
            found = json.loads(path.read_text())
        lab.check("it is one of the two states", found in ({"done": 1}, {"done": 2}), f"{disk.name}: {found}")


if __name__ == "__main__":
    run_alone(__file__)
