"""Kamerton's side with products in fp32, whatever the recipe says: what rounding is held against."""

from __future__ import annotations

import ours
from protocol import open_job

from kamerton.runs.recipe import Decision
from kamerton.runs.run import Run

if __name__ == "__main__":
    run = Run(open_job()[0].run)
    run.write_recipe(run.recipe.settle({"model.precision": Decision("fp32", "what rounding is held against")}))
    ours.main()
