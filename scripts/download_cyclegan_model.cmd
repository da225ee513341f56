@python "%~dp0..\datasets\download.py" cyclegan_model %*
