"""Drop-in modules with the names of published repositories: change an import, keep the script.

- :mod:`.ddrm`: ``bahjat-kawar/ddrm`` (Kawar, Elad, Ermon, Song, NeurIPS 2022);
- :mod:`.ddnm`: ``wyhuai/DDNM`` (Wang, Yu, Zhang, ICLR 2023).

Classes, methods, vector orders and return values are the published ones; the sampling runs on this
package's fused steps. ``docs/porting.md`` shows a port, ``docs/fidelity.md`` lists every difference.
"""

from . import ddnm, ddrm

__all__ = ["ddnm", "ddrm"]
