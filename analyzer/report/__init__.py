"""The report for people: console text and HTML. Renderers format; they compute no number."""
