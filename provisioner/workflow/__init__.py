"""One verb a module: joins decisions and adapters and returns a frozen result."""
