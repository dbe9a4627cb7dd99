"""Pictures for README and docs, made from the real page: one module for each app that has to run."""
