from typing import Tuple

NAMES: Tuple[str, ...]

def install(*names: str) -> None: ...
