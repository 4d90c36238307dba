import os
import sys

print(os.getcwd(), "with" if sys.prefix != sys.base_prefix else "without", "a virtual environment")
