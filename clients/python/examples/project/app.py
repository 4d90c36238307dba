import os

print("debug" if os.environ.get("DEBUG") == "1" else "quiet")
