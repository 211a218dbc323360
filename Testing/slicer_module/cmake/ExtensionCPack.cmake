# Packages the installed tree; nothing to stand in for here.
