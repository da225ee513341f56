@python "%~dp0preset.py" horse2zebra_fastcut %*
