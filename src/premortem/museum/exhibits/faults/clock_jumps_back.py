"""The clock jumps back, and a wait of a second takes an hour.

Cause:       The time limit is computed from the calendar's clock, which the machine may set back: NTP, a virtual
             machine that was moved, an administrator.
Effect:      The job neither ends nor fails until the clock has caught up: an hour for each that it was set back.
Fix:         Measure how long something takes by the monotonic clock, which never goes back; the calendar is for people.
Prevention:  Take the clock as an argument (premortem.ports), and let it jump in a test.
"""

from premortem.errors import Hung
from premortem.experiment import run_alone

PREDICTION = Hung(after_s=2)


def broken(clock, poll):
    """Poll for a second; what is there by then is taken."""
    began, found = clock.now(), 0
    while (clock.now() - began).total_seconds() < 1:
        found += poll()
    return found


def fixed(clock, poll):
    """Poll for a second, by the clock that is made for it."""
    began, found = clock.monotonic(), 0
    while clock.monotonic() - began < 1:
        found += poll()
    return found


def scenario(collect, lab):
    """A second is a second; then the machine's clock is set back by an hour while the job waits."""
    clock = lab.jumping_clock()
    lab.check("a second ends in clear weather", collect(clock, poll=lambda: 0) == 0)

    hours = [-3600]

    def poll():
        if hours:
            clock.jump(hours.pop())
            clock.now()  # somebody looks at the wall
            return 1
        return 0

    lab.check("what came is taken", collect(clock, poll) == 1)


if __name__ == "__main__":
    run_alone(__file__)
