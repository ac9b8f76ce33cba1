"""Print a dependency group of pyproject.toml: ``pip install --group`` needs pip 25.1, and Debian 12 has 23.

python scripts/requirements.py dev
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
print("\n".join(project["dependency-groups"][sys.argv[1]]))
