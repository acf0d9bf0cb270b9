"""Hand models: kinematics, meshes by linear blend skinning, and the fit of a pose to 21 joints."""
