"""What every step of the story holds: setup, planner, engines, the trainable model."""
