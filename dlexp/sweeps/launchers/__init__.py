"""Launchers run trials: the contract, processes of this machine, and Ray clusters."""
