"""One plain function per endpoint."""
