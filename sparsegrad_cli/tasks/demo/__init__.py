"""Small synthetic English versions of the nine GLUE tasks, made from a seed."""

from .cola import cola
from .dice import Dice
from .words import DEV, MISMATCHED, TRAIN

DEMO_ROWS={"cola":{"train":1600,"validation":400}}
def demo_rows(task, split, seed=0):
    dice=Dice(f"{task} {split} {seed}")
    w={"train":TRAIN,"validation":DEV}[split]
    out,seen=[],set()
    while len(out)<DEMO_ROWS[task][split]:
        t,l=cola(dice,w)
        if t in seen: continue
        seen.add(t)
        out.append({"idx":len(out),"sentence":t[0],"label":l})
    return out
