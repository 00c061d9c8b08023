"""The kernels: each trains the tables on spans of text, in place.

A kernel is a module with a `KERNEL` (see `interface`) and a name in the config; `choice` says
which one a run takes. `bmm` is the canonical one: it has every setting and runs on any device. A
kernel's module is imported only when it is taken, since compilers are slow to load.
"""
