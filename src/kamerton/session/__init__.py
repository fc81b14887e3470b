"""What every step of the story uses: setup, planner, engines, the trainable model."""
