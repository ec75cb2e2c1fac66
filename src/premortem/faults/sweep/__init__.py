"""Fails the 1st, 2nd, 3rd ... operation of a program until a run ends unstruck; a check judges each run."""
