"""What the workflows' notes say: what to do, what to expect, and which file goes where. No measured figures."""

from __future__ import annotations

from . import caches
from .families import Family


def made_here(family: Family) -> str:
    """Return for which model and settings a file is that the workflow itself makes, and how."""
    return f"{family.made_for}. The frame 'First, once' of this workflow makes it: select its nodes, press Ctrl+M, run"


def trained(family: Family) -> str:
    """Return for which model and settings a router is that the workflow itself trains, and how."""
    return (
        f"{family.made_for}. The frame 'First, once' of this workflow trains it, which takes very long: select its nodes, press "
        "Ctrl+M, run"
    )


def write(question: str, text: str, family: Family) -> str:
    """Return the whole note in Markdown."""
    body = text.format(
        file_folder="`models/feature_cache`",
        made_for=family.made_for,
        published=f" {family.published}" if family.published else "",
        model=family.title,
    )
    return f"## {question}\n\n{body}\n\n**Model files**\n\n{family.files}"


_ONCE = """**First, once.** The method needs a file that belongs to this model and these settings ({made_for}). The frame \
*First, once* makes it: select its nodes, press **Ctrl+M** to switch them on, and run. It samples six pictures uncached and saves \
the file in {file_folder}; the node then shows what it found. Press **Ctrl+M** on them again and run. More prompts and seeds make the file better."""

_HONEST = (
    "**The honest question:** is it better than **fewer steps**? The report says which share of the work was done. "
    "Bypass the cache (**Ctrl+B**), set *steps* to that share of them, run with the same seed, and look."
)

_UNCACHED = (
    "Then select the cache node, press **Ctrl+B** (bypass) and run again with the same seed: that is the "
    "picture to compare with."
)

DEFAULT = f"""Run the graph as it is. A few steps are computed, and what the network says in the others is forecast from them: \
**Feature Cache Report** shows which, and how long each call took.

{_UNCACHED}

* *intent* says how near the picture shall stay: `quality`, `balanced` or `fast`. How many steps are computed for it was measured, for \
your kind of sampler, number of steps and guidance.
* *speedup* takes its place: 2 computes one step in two, 3 one in three; 1 computes all, and the picture is bit-identical to no node.
* A list made for your own model is nearer still: the workflow *which steps are worth computing* finds one.

{_HONEST}"""

FORA = f"""Run the graph as it is. **Feature Cache Report** shows, for every block and call, what was computed and what was reused, \
and how long each call took.

{_UNCACHED}

* *interval 2* computes every second call, the first and the last always.
* *interval 3* is faster and further from the uncached picture.
* *interval 1* reuses nothing: the picture is bit-identical to no node.

{_HONEST}"""

BLOCK_CACHING = f"""{_ONCE}

**Then** run. In the report every block has a rhythm of its own: one that hardly changes is reused for many steps, one that changes \
much is computed in all of them.

* *delta* is how much change a block may pile up before it is computed again. The paper uses 0.5.
* Lower it for a picture nearer to the uncached one; 0 reuses nothing and is bit-identical to no node.
* The file holds the changes, not the schedule: another *delta* needs no new file. Feature Cache Calibrate names the *delta* at which a \
quarter, half and three quarters are reused.

{_HONEST}"""

_TEACACHE_END = """* *threshold* is how much the output may have changed, by estimate, before a step is computed again. 0 computes everything.
* Which steps are skipped depends on prompt and seed: the report shows it. First and last are always computed.
* **SeaCache** is the same with an indicator that needs no coefficients: set *indicator* to `seacache`{no_file}."""

TEACACHE = (
    """Run the graph as it is. *coefficients* `auto` takes the polynomial published for this model, which turns the change of the first \
block's input into an estimate of the output's.

"""
    + _TEACACHE_END.replace("{no_file}", "")
    + f"\n\n{_HONEST}"
)

TEACACHE_CALIBRATED = (
    f"""No polynomial is published for this model, so the workflow fits one.

{_ONCE}

**Then** run. Feature Cache Calibrate says how good the fit is; where it is doubtful, lower its *order* or take SeaCache.

"""
    + _TEACACHE_END.replace("{no_file}", " and *artefact* to `none`")
    + f"\n\n{_HONEST}"
)

STEP_LIST = f"""**First, once.** The frame *First, once* finds the list for this model and these settings ({{made_for}}): select its nodes, \
press **Ctrl+M** to switch them on, and run. It samples three prompts uncached, works out the best list of full steps from that, samples with \
it and others near it, and saves the best in {{file_folder}}. That takes as long as some fifty pictures, or ten minutes; *tries* and *minutes* \
end it sooner, and so does the stop button: the best list so far is kept. The node then shows how near to the uncached picture it will be (PSNR), \
beside the rule that needs no search, even spacing, and fewer steps. Press **Ctrl+M** on them again and run.

**Then** run. In the report the steps of the list are computed; in the others nothing of the network runs, and its output is forecast.

* *speedup* is the search's: for another one search again. 1 computes everything.
* Without the file (*artefact* `none`) the list is a rule of *speedup*, steps and guidance.
* *order* and *trust* should be those of the search.

{_HONEST}"""

_ROUTER = """**First, once.** The method needs a router that was trained on {model} at these settings, and **none is published for it yet**: \
without the file the node says so when you run, and nothing else happens. If you have one, put it into {file_folder}, refresh the node \
definitions (**R**), and choose it in *artefact*.{published}

The frame *First, once* trains one: select its nodes, press **Ctrl+M** to switch them on, and run. **It is a training, no calibration:** \
1000 *iterations*, each a whole sampling with gradients, which takes as long as several pictures. On a large model that is a day or more on one \
graphics card, and much more memory than a picture. The node shows its progress; stopped, it is saved, and goes on when you run it \
again. Press **Ctrl+M** on the nodes again when it is done.

* Three prompts show how it is wired. For a router that you will use, join many and varied ones.
* Weights must be float32, bfloat16 or float16 for the training. Its router serves quantised versions too.
* *refresh_ratio* is the share of the work that will be left.

**Then** run.

* The router must be for this model; every part is checked. It belongs to a number of steps and a sampler ({made_for}); for other steps it is mapped \
over the noise levels, with a warning, or refused.
* *threshold*: `from file`, or `set here`: lower computes more, 0 everything."""

LEARNING_TO_CACHE = f"""Learning-to-Cache pairs the steps: the first of a pair computes everything, the second only what the router says. \
So nothing is ever older than one step, and at most half of the work is saved.

{_ROUTER}

{_HONEST}"""

HARMONICA = f"""HarmoniCa's router decides in every step but the first, so a part may be reused for many steps: more can be saved than in pairs.

{_ROUTER}

{_HONEST}"""

FULL_STEPS = f"""A list of 13 full steps of 50 for FLUX.1-dev, from the Golden Path study (arXiv:2609.39343); it comes with the pack. In the other 37 \
steps all blocks are skipped and what they added in the last full step is added again.

Run the graph as it is: the refresh ratio is 13/50. {_UNCACHED}

* In *artefact* there are two more lists: 21 full steps (nearer to the uncached picture) and 9 (faster).
* They are for 50 Euler steps on the simple schedule at 1024 x 1024; at 25 to 100 steps they are mapped over the noise levels, with a warning.

**The honest question:** is it better than 13 plain steps? Bypass the cache, set *steps* to 13, run with the same seed, and look."""

ERROR_OPTIMIZED = f"""{_ONCE}

**Then** run. FORA with *interval 3* reuses much; **Error Optimizer** adds to what is reused how much it differs, on average, \
from what would have been computed. This costs next to no time.

* Bypass (**Ctrl+B**) the Error Optimizer for the same cache without correction, and both nodes for the uncached picture.
* *theta* 0 corrects nothing, 1 takes away the whole average error. Raise *trend* to correct fewer places.
* `gradient_optimized` (GOC) needs no file: choose it in *correction*, set *artefact* to `none`, and begin with *interval 2*.
* The file is for the level of the cache, here `{caches.CORRECTED}`: what all blocks together add. There it repairs most, and least with strong guidance.

{_HONEST}"""

SIDE_BY_SIDE = f"""{_ONCE}

**Then** run: three pictures of the same seed.

1. **Uncached**: what the others should look like.
2. **Over-cached**: FORA with *interval {caches.OVERDONE}*. Every fourth step is computed, the first and the last always; in the others everything is reused.
3. **Corrected**: the same cache behind **Error Optimizer** with the prior of this model. It computes exactly as much as the second.

Look whether the third is nearer to the first than the second is: edges, small parts, letters. It need not be: what is taken away is the \
average error over prompts, and this picture has its own. Change the seed in the one node that all three share, and look again: one picture \
proves little.

* `gradient_optimized` (GOC) needs no file: choose it in *correction*, set *artefact* to `none`, and begin with *interval 2*.
* *theta* 0 makes the third picture equal to the second, bit for bit."""
