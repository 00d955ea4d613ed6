"""A page that recognises words in the browser, and the server that shows it on this machine."""
