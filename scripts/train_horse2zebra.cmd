@python "%~dp0preset.py" train_horse2zebra %*
