"""Quick reference: create, use the modules, clean up."""

from sandshell import Sandbox

sandbox = Sandbox.create("host")
try:
    # Code, commands and files.
    assert sandbox.code.run("print('Hello')", "python").stdout == "Hello\n"
    sandbox.files.write("/tmp/file", "content")
    assert sandbox.run("ls /tmp").stdout == "file\n"
    assert sandbox.files.read_text("/tmp/file") == "content"
finally:
    # Clean up.
    sandbox.delete()
