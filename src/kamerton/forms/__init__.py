"""How examples look to a model: what goes in, what is supervised, what comes out. Shared by tasks; no torch."""
