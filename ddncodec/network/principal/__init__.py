"""The principal generator, which is this project's own and its default: levels split principal axes."""
