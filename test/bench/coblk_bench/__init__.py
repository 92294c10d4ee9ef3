# SPDX-License-Identifier: MIT
"""The benchmark's parts; ../run is the program.

mount        the subcommand: what runs, in which order
images       the subcommand for image commands and mounted qcow2
cases        its cases: what is run, against whom, what is to be reached
corpus       the images that they read
common       what both subcommands share
contenders   what is measured: how each starts, where its file is, how it ends
media        where images lie (RAM, disk) and how they are filled
fio          the workloads, and one run of one of them
proc         CPU time and memory of a daemon
report       medians, ratios and the tables
targets      the numbers to reach, and whether they were
cleanup      everything undone on every way out
"""
