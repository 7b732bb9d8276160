"""What the site needs that the documents by themselves do not."""

import re

#: a link to a file of the repository that is no document
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\((?:\.\./)+([^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, **keywords: object) -> str:
    """Names files of the repository in place of linking to them: the site does not hold them."""
    markdown = re.sub(r"!\[([^\]]*)\]\((?:\.\./)+([^)]+)\)", r"\1 (`\2`)", markdown)
    return _OUTSIDE.sub(r"\1 (`\2`)", markdown)
