@python "%~dp0preset.py" retouch_overfit_1000 %*
