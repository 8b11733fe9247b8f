"""Scripted engines in a process of their own: one has trouble to tell of, one takes its time."""

from curate.engines.scripted import Scripted, ScriptedEngine


class Worried(Scripted):
    isolated = True

    def load(self):
        return WorriedEngine(self)


class WorriedEngine(ScriptedEngine):
    def listen(self, tell):
        self.tell = tell

    def chat(self, requests):
        self.tell("no answer for 60 s; 4 calls wait")
        return super().chat(requests)


class Slow(Scripted):
    isolated = True
