@python "%~dp0..\datasets\download.py" pix2pix_model %*
