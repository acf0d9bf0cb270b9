.PHONY: venv demo picture pictures test fuzz lint

# PYTHON chooses the interpreter of a new .venv, ARGS is passed on: make test ARGS="tests/calibration/test_rig.py -x"
export PYTHON

venv:
	@deploy/setup.sh

demo: venv
	@if [ -n "$$DISPLAY" ]; then .venv/bin/usthand demo $(ARGS); else \
		echo "There is no screen (DISPLAY is not set): rendering 20 seconds to demo.mp4 instead of opening a window."; \
		.venv/bin/usthand demo --headless demo.mp4 --seconds 20 $(ARGS); fi

# The picture at the top of README.md.
picture: venv
	.venv/bin/usthand demo --seconds 12 --headless .picture.mp4 --snapshot docs/viewer.png
	@rm -f .picture.mp4

# Those of docs/viewer.md.
pictures: picture
	.venv/bin/usthand demo --pictures docs/pictures

# A file's tests stay together, since they share what they make. ARGS="-n 0 -s ..." shows what a test prints.
test: venv
	@deploy/setup.sh tests
	.venv/bin/python -m pytest -m "not slow" --timeout 300 -n logical --maxprocesses 4 --dist loadfile $(ARGS)

# Damaged files for ten minutes.
fuzz: venv
	.venv/bin/python -m tests.fuzz.fuzz $(ARGS)

lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright --pythonpath .venv/bin/python
