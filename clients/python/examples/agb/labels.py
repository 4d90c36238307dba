"""Labels: setting and getting them, and what is checked."""

from sandshell import InvalidArgument, Sandbox

with Sandbox.create() as sandbox:
    # Set labels: they take the place of all that it has.
    labels = {"project": "demo", "environment": "production", "version": "v1.2.0"}
    sandbox.set_labels(labels)

    # Get labels.
    for key, value in sandbox.labels().items():
        print(f"  {key}: {value}")
    assert sandbox.labels() == labels

    # Valid labels.
    sandbox.set_labels({"project": "my-project", "environment": "staging", "team": "data-science"})

    # Invalid labels: each mistake is told, and nothing is changed.
    invalid = {
        "": "empty-key",
        "project": "",
        "team": None,
        42: "not a string",
    }
    try:
        sandbox.set_labels(invalid)  # type: ignore[arg-type]
        raise AssertionError("these labels are wrong")
    except InvalidArgument as error:
        print(f"Label validation failed: {error}")
        assert [field for field, _ in error.violations] == ["labels['']", "labels['project']", "labels['team']", "labels[42]"]
    assert sandbox.labels()["team"] == "data-science"

    # What only the server knows is told in the same way: a key may have 63 characters.
    try:
        sandbox.set_labels({"k" * 64: "x", "": "y"})
        raise AssertionError("these labels are wrong")
    except InvalidArgument as error:
        assert len(error.violations) == 2
