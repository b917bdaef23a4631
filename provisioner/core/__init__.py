"""Pure decisions: values in, values out. No files, network, clock or environment variables."""
