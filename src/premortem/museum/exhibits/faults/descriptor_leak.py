"""Errors that are kept for the report keep files open, until no more can be opened.

Cause:       A kept exception holds its traceback, that its frames, and those their local variables: an open file each.
             Nothing was forgotten that a reader of the code would see.
Effect:      OSError: Too many open files, in the middle of a day with many bad deliveries, and in another place.
Fix:         Close by `with`, where it was opened; keep an error's words and not the error.
Prevention:  Run the job in a test under a low limit of descriptors; watch /proc/PID/fd of what runs for long.
"""

from premortem.experiment import run_alone

PREDICTION = OSError


def broken(paths):
    """Sum up all deliveries; the bad ones go to the report."""

    def amount(path):
        file = path.open()
        return int(file.read())

    total, errors = 0, []
    for path in paths:
        try:
            total += amount(path)
        except ValueError as error:
            errors.append(error)
    return total, [str(error) for error in errors]


def fixed(paths):
    """The same, and nothing stays open."""

    def amount(path):
        with path.open() as file:
            return int(file.read())

    total, errors = 0, []
    for path in paths:
        try:
            total += amount(path)
        except ValueError as error:
            errors.append(str(error))
    return total, errors


def scenario(add_up, lab):
    """A usual day has one bad delivery; then comes one with fifty, and only twenty files more can be opened."""
    deliveries = [lab.folder / f"{number:02}" for number in range(60)]
    for number, path in enumerate(deliveries):
        path.write_text("7" if number < 10 else "seven")
    lab.check("a usual day is added up", add_up(deliveries[:11])[0] == 70)

    with lab.limits.descriptors(spare=20):
        total, errors = add_up(deliveries)

    lab.check("all that is good is counted, all that is bad told", (total, len(errors)) == (70, 50), f"{total}")


if __name__ == "__main__":
    run_alone(__file__)
