# SPDX-License-Identifier: MIT
"""Says on standard error what will be measured, what is being measured, and how long it will still
take."""
import sys
import time


class Part:
    """One suite: what it takes was guessed, until some of it was measured."""

    ENOUGH = 4

    def __init__(self, name, measurements, guess):
        self.name, self.planned, self.guess = name, measurements, guess
        self.done = 0
        self.begin = self.end = None

    def seconds(self):
        return (self.end or time.monotonic()) - self.begin if self.begin else 0.0

    def each(self, drift):
        """Seconds of one measurement."""
        if self.done >= self.ENOUGH:
            return self.seconds() / self.done
        return self.guess * drift

    def left(self, drift):
        return 0.0 if self.end else max(0, self.planned - self.done) * self.each(drift)


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    def __init__(self):
        self.parts = {}
        self.now = None
        self.live = sys.stderr.isatty()
        self._wide = 0

    def say(self, text):
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def suite(self, name, measurements, guess):
        """One that is going to be run."""
        self.parts[name] = Part(name, measurements, guess)

    def show_plan(self):
        wide = max(len(name) for name in self.parts)
        for part in self.parts.values():
            self.say(f"  {part.name:{wide}}  {part.planned:4} measurements, about "
                     f"{clock(part.left(1)):>5}")
        self.say(f"  {'in all':{wide}}  {self._planned():4} measurements, about "
                 f"{clock(self.left()):>5}")

    def begin(self, name):
        self.now = self.parts[name]
        self.now.begin = time.monotonic()

    def finish(self):
        """The suite that was begun has ended."""
        self.now.end = time.monotonic()
        self.say(f"{self.now.name}: {self.now.done} measurements in {clock(self.now.seconds())}")

    def plan(self, more):
        """More measurements of this suite than was thought, or fewer."""
        self.now.planned += more

    def drift(self):
        """How wrong the guesses have been so far."""
        guessed = sum(part.done * part.guess for part in self.parts.values())
        taken = sum(part.seconds() for part in self.parts.values())
        return taken / guessed if guessed > 30 else 1.0

    def left(self):
        drift = self.drift()
        return sum(part.left(drift) for part in self.parts.values())

    def _planned(self):
        return sum(part.planned for part in self.parts.values())

    def step(self, text):
        done = sum(part.done for part in self.parts.values())
        line = f"[{done + 1}/{self._planned()}, {clock(self.left())} left] {text}"
        self.now.done += 1
        if self.live:
            self._clear()
            print(line, end="\r", file=sys.stderr, flush=True)
            self._wide = len(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def _clear(self):
        if self._wide:
            print(" " * self._wide, end="\r", file=sys.stderr)
            self._wide = 0
