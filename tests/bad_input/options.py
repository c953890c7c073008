"""Options that name nothing, are out of bounds, exclude one another or have no effect."""

from .case import Case

RUN = "finetune --quiet --device cpu --model {bert} --data {glue} --task cola"
FT = f"{RUN} --method ft"
LORA = f"{RUN} --method lora"
SPARSE = f"{RUN} --method sparsegrad"
SWEEP = "sweep --quiet --device cpu --model {bert} --data {glue} --task cola --method ft"
BENCH = "bench --quiet --device cpu --model {bert}"
CALIBRATE = "calibrate --quiet --device cpu --model {bert} --data {glue} --task cola"

CASES = [
    Case("no such command", "fintune", "fintune"),
    Case("no such option", f"{FT} --batchsize 8", "--batchsize"),
    Case("an option without its value", f"{FT} --length", "--length"),
    Case("an argument too many", f"{FT} more", "more"),
    Case("no task", "finetune --method ft", "--task"),
    Case("no method", "finetune --task cola", "--method"),
    Case("a misspelt task", f"{FT} --task colla", "no task 'colla'"),
    Case("a misspelt method", f"{RUN} --method loar", "no method 'loar'"),
    Case("no such device", f"{FT} --device tpu", "'tpu'"),
    Case("a device that is not there", f"{FT} --device cuda", "no CUDA device"),
    Case("no such precision", f"{FT} --precision fp8", "fp8"),
    Case("TF32 on a CPU", f"{FT} --precision tf32", "--precision tf32 needs a CUDA device"),
    Case("a precision of chat tasks", f"{FT} --precision bf16-weights", "is for chat tasks"),
    Case("no such schedule", f"{FT} --schedule polynomial", "polynomial"),
    Case("no such protocol", f"{FT} --protocol test", "--protocol"),
    Case("a negative seed", f"{FT} --seed -1", "--seed"),
    Case("a seed that is no number", f"{FT} --seed one", "--seed"),
    Case("no learning rate", f"{FT} --learning-rate 0", "--learning-rate must be above 0"),
    Case("a learning rate below 0", f"{FT} --learning-rate -1e-3", "--learning-rate must be above 0"),
    Case("a learning rate that is no number", f"{FT} --learning-rate nan", "must be a finite number"),
    Case("an infinite learning rate", f"{FT} --learning-rate inf", "must be a finite number"),
    Case("a learning rate in words", f"{FT} --learning-rate high", "--learning-rate"),
    Case("endless epochs", f"{FT} --epochs inf", "--epochs must be a finite number"),
    Case("no epochs", f"{FT} --epochs 0", "--epochs must be above 0"),
    Case("epochs and steps", f"{FT} --epochs 1 --max-steps 2", "exclude one another"),
    Case("no steps", f"{FT} --max-steps 0", "--max-steps"),
    Case("no batch", f"{FT} --batch-size 0", "--batch-size"),
    Case("half an example", f"{FT} --batch-size 2.5", "--batch-size"),
    Case("uneven micro batches", f"{FT} --batch-size 16 --accumulation-steps 3", "does not divide"),
    Case("a negative weight decay", f"{FT} --weight-decay -1", "--weight-decay"),
    Case("an infinite weight decay", f"{FT} --weight-decay inf", "must be a finite number"),
    Case("negative patience", f"{FT} --patience -1", "--patience"),
    Case("no steps between evaluations", f"{FT} --eval-steps 0", "--eval-steps"),
    Case("negative warmup", f"{FT} --warmup-steps -3", "--warmup-steps"),
    Case("texts of three tokens", f"{FT} --length 3", "--length"),
    Case("more tokens than positions", f"{FT} --length 4096", "has positions for"),
    Case("negative minutes", f"{FT} --checkpoint-minutes -1", "--checkpoint-minutes"),
    Case("blocks that are not there", f"{LORA} --blocks 0,7", "--blocks 0,7"),
    Case("blocks that are no blocks", f"{LORA} --blocks some", "--blocks some"),
    Case("every zeroth block", f"{LORA} --blocks every:0", "--blocks every:0"),
    Case("a rank for full fine-tuning", f"{FT} --rank 3", "--rank is not used by --method ft"),
    Case("no rank", f"{LORA} --rank 0", "--rank"),
    Case("more rank than the matrix has", f"{LORA} --rank 33", "have rank 32"),
    Case("density of LoRA", f"{LORA} --density 0.1", "--density is not used by --method lora"),
    Case("no density", f"{SPARSE} --density 0", "--density must be above 0"),
    Case("density above 1", f"{SPARSE} --density 1.01", "--density must be at most 1"),
    Case("density and entries", f"{SPARSE} --density 0.1 --kept 3", "exclude one another"),
    Case("more entries than the matrix has", f"{SPARSE} --kept 9999999", "--kept 9999999"),
    Case("no sparse rate", f"{SPARSE} --sparse-learning-rate 0", "--sparse-learning-rate must be above 0"),
    Case("no such mask", f"{SPARSE} --mask blocks", "blocks"),
    Case("no such place", f"{SPARSE} --place forward", "forward"),
    Case("a block in no basis", f"{SPARSE} --basis none --mask block", "--mask block needs a basis"),
    Case("energies of a random basis", f"{SPARSE} --basis random --mask fixed", "needs energies"),
    Case("the rank of no basis", f"{SPARSE} --basis none --basis-rank 4", "--basis-rank has no effect"),
    Case(
        "no calibration",
        f"{SPARSE} --basis random --calibration-steps 4",
        "--calibration-steps has no effect",
    ),
    Case("calibration of no batch", f"{SPARSE} --calibration-steps 0", "--calibration-steps"),
    Case("recompute in the optimizer", f"{SPARSE} --place optimizer --recompute", "--recompute goes with"),
    Case("an adapter as large as the layer", f"{SPARSE} --place adapter", "give --basis-rank"),
    Case(
        "steps before the sum",
        f"{SPARSE} --place backward --batch-size 16 --accumulation-steps 2",
        "--place backward steps before",
    ),
    Case("a language of no chat", f"{FT} --language de", "is for chat tasks"),
    Case("turns of no chat", f"{FT} --loss-on all", "is for chat tasks"),
    Case("a synthetic test split", f"{FT} --data demo --predict-test", "have no test split"),
    Case("no test split there", f"{FT} --predict-test", "--predict-test: no test split of cola"),
    Case(
        "a params file that is not there",
        f"{FT} --params none.yaml",
        "--params none.yaml: cannot be read: No such file",
    ),
    Case(
        "a params file that is no YAML", f"{FT} --params p.yaml", "p.yaml:1: not YAML", files={"p.yaml": "{a"}
    ),
    Case("params in words", f"{FT} --params p.yaml", "neither a sweep's best.yaml", files={"p.yaml": "fast"}),
    Case("an unknown param", f"{FT} --params p.yaml", "learning_rat", files={"p.yaml": "learning_rat: 1"}),
    Case(
        "a param out of bounds", f"{FT} --params p.yaml", "--params p.yaml", files={"p.yaml": "epochs: .inf"}
    ),
    Case(
        "a param of no value",
        f"{FT} --params p.yaml",
        "--batch-size must be a whole number",
        files={"p.yaml": "batch_size: many"},
    ),
    Case(
        "results in a file", f"{FT} --max-steps 1 --output taken", "cannot write to taken", 1, {"taken": "x"}
    ),
    Case(
        "an unwritable results folder", f"{FT} --max-steps 1 --output /proc/no", "cannot write to /proc/no", 1
    ),
    Case("a precision of a basis", f"{CALIBRATE} --precision bf16", "--precision bf16: a basis is always"),
    Case("a method of calibrate", f"{CALIBRATE} --method lora", "--method"),
    Case("calibration in blocks that are not there", f"{CALIBRATE} --blocks 9", "--blocks 9"),
    Case("a basis of no directions", f"{CALIBRATE} --basis-rank 0", "--basis-rank"),
    Case("more directions than there are", f"{CALIBRATE} --basis-rank 999", "have at most 64 directions"),
    Case("bench of a chat task", f"{BENCH} --task oasst1", "is a chat task"),
    Case("bench of no rounds", f"{BENCH} --rounds 0", "--rounds"),
    Case(
        "bench of a place of no method",
        f"{BENCH} --method ft --place optimizer",
        "are of --method sparsegrad",
    ),
    Case("bench of no such place", f"{BENCH} --place nowhere", "nowhere"),
    Case("bench of no such mask", f"{BENCH} --mask nothing", "nothing"),
    Case("bench of no such method", f"{BENCH} --method loar", "loar"),
    Case("bench of an adapter of all", f"{BENCH} --place adapter", "--place adapter"),
    Case("bench of data for no task", f"{BENCH} --data demo", "--data: without --task"),
    Case("bench in bf16 weights", f"{BENCH} --precision bf16-weights", "is for chat tasks"),
    Case("bench without a task", "bench runner --quiet", "--task"),
    Case("ls of nothing known", "ls thing", "thing"),
    Case("a sweep of no task", "sweep --method ft", "which task?"),
    Case("a sweep of no method", "sweep --task cola", "which method?"),
    Case("all tasks and one", f"{SWEEP} --all-tasks", "--all-tasks and --task"),
    Case("all methods and one", f"{SWEEP} --all-methods", "--all-methods and --method"),
    Case("no trials", f"{SWEEP} --trials 0", "--trials"),
    Case("no workers", f"{SWEEP} --workers 0", "--workers"),
    Case("no such pruner", f"{SWEEP} --pruner best", "--pruner"),
    Case("selection on test", f"{SWEEP} --select-on test", "--select-on"),
]
