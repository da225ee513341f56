"""Is it getting good? Runs generators on pictures apart from training, and changes no bit of that.

generators.py    runs them: on copies that share weights, or through a model file's own `test`
judge.py         compares their results with targets or, unpaired, with the look of the other side
examples.py      the same few pictures, shown throughout a run
judging.py       what all this does in the course of a run; create.py builds it
validation.py    all validation pictures through all of this: `Scores`
"""
