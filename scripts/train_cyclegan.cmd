@python "%~dp0preset.py" train_cyclegan %*
