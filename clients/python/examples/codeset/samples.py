"""Samples: each is a code base with a task. The server has to have some: `sandshell serve --catalog examples/datasets`."""

from sandshell import Samples

samples = Samples()

# The datasets of the server, and what is in one.
dataset = next(samples.datasets())
print(f"{dataset.name}: {dataset.title} ({dataset.sample_count} samples)")
found = list(samples.list(dataset.name))
assert len(found) == dataset.sample_count

# Filters: by language, tags, and text.
in_python = list(samples.list(dataset.name, language="python"))
assert 0 < len(in_python) < len(found) and all(sample.language == "python" for sample in in_python)

# One sample, by the id that a session would be made with. The description is what the agent is told to do.
sample = samples.get(in_python[0].sample_id, dataset.name)
print(f"{sample.sample_id}: {sample.title}\n{sample.description}")
assert sample.description and sample.verification_timeout > 0
