@python "%~dp0preset.py" retouch_overfit_2000 %*
