"""The RPCs: one module a proto service, each thin. Facts are read, a plan is made, the runner does the rest."""
