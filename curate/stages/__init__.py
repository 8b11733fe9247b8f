"""The built-in stages, by class name (`stages.ExactDedup`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a test holds this to what is registered
    from curate.stages.agreement import Consensus as Consensus
    from curate.stages.agreement import RankConsistency as RankConsistency
    from curate.stages.agreement import Verify as Verify
    from curate.stages.answer_diversity import AnswerDiversity as AnswerDiversity
    from curate.stages.backtranslate import Backtranslate as Backtranslate
    from curate.stages.bleu import Bleu as Bleu
    from curate.stages.bound import Bound as Bound
    from curate.stages.calibrate import Calibrate as Calibrate
    from curate.stages.check_answer import CheckAnswer as CheckAnswer
    from curate.stages.check_scores import CheckScores as CheckScores
    from curate.stages.claims import Claims as Claims
    from curate.stages.cluster import Cluster as Cluster
    from curate.stages.combine import Combine as Combine
    from curate.stages.consistency import Consistency as Consistency
    from curate.stages.consistency import Support as Support
    from curate.stages.constrain import CheckConstraints as CheckConstraints
    from curate.stages.constrain import Constrain as Constrain
    from curate.stages.continue_steps import ContinueSteps as ContinueSteps
    from curate.stages.contrast_prompt import ContrastPrompt as ContrastPrompt
    from curate.stages.cover import Cover as Cover
    from curate.stages.critique_agreement import CritiqueAgreement as CritiqueAgreement
    from curate.stages.curriculum import Curriculum as Curriculum
    from curate.stages.decontaminate import Decontaminate as Decontaminate
    from curate.stages.dedup import ExactDedup as ExactDedup
    from curate.stages.dedup import NearDedup as NearDedup
    from curate.stages.diverse import Diverse as Diverse
    from curate.stages.draw_pairs import DrawPairs as DrawPairs
    from curate.stages.drop_quotes import DropQuotes as DropQuotes
    from curate.stages.drop_reasoning import DropReasoning as DropReasoning
    from curate.stages.embed import Embed as Embed
    from curate.stages.few_shot import FewShot as FewShot
    from curate.stages.filters import Margin as Margin
    from curate.stages.filters import MinScore as MinScore
    from curate.stages.find_feedback import FindFeedback as FindFeedback
    from curate.stages.generate import Generate as Generate
    from curate.stages.generate_set import GenerateSet as GenerateSet
    from curate.stages.goals import Goals as Goals
    from curate.stages.judge import Judge as Judge
    from curate.stages.judge_list import JudgeList as JudgeList
    from curate.stages.judge_pairs import JudgePairs as JudgePairs
    from curate.stages.judge_prompts import JudgePrompts as JudgePrompts
    from curate.stages.jury import Confident as Confident
    from curate.stages.jury import Jury as Jury
    from curate.stages.length_penalty import LengthPenalty as LengthPenalty
    from curate.stages.likelihood import Likelihood as Likelihood
    from curate.stages.lint import Lint as Lint
    from curate.stages.merge_tags import MergeTags as MergeTags
    from curate.stages.overrule import Overrule as Overrule
    from curate.stages.pairing import AllPairs as AllPairs
    from curate.stages.pairing import BestWorst as BestWorst
    from curate.stages.people import People as People
    from curate.stages.rank import Rank as Rank
    from curate.stages.rank_models import RankModels as RankModels
    from curate.stages.rationale import Rationale as Rationale
    from curate.stages.rejection_sample import RejectionSample as RejectionSample
    from curate.stages.relevance import Relevance as Relevance
    from curate.stages.repeats import CapPairs as CapPairs
    from curate.stages.repeats import MergePairs as MergePairs
    from curate.stages.repeats import ReusedAnswers as ReusedAnswers
    from curate.stages.retrieve import Retrieve as Retrieve
    from curate.stages.reward import Reward as Reward
    from curate.stages.reward_heads import RewardHeads as RewardHeads
    from curate.stages.route import Route as Route
    from curate.stages.route_pairs import RoutePairs as RoutePairs
    from curate.stages.row_score import RowScore as RowScore
    from curate.stages.run_tests import CheckTests as CheckTests
    from curate.stages.run_tests import RunTests as RunTests
    from curate.stages.semantic_dedup import SemanticDedup as SemanticDedup
    from curate.stages.soft_label import Bands as Bands
    from curate.stages.soft_label import SoftLabel as SoftLabel
    from curate.stages.split import Split as Split
    from curate.stages.steering import DropSuspicious as DropSuspicious
    from curate.stages.steps import LabelSteps as LabelSteps
    from curate.stages.steps import PairSteps as PairSteps
    from curate.stages.style import StyleControl as StyleControl
    from curate.stages.surprisal import Surprisal as Surprisal
    from curate.stages.system_message import SystemMessage as SystemMessage
    from curate.stages.tag import Tag as Tag
    from curate.stages.tournament import Tournament as Tournament
    from curate.stages.transitivity import Transitivity as Transitivity
    from curate.stages.unique_id import UniqueId as UniqueId
    from curate.stages.weigh import Weigh as Weigh
    from curate.stages.write import Write as Write

ELSEWHERE = {
    "all_pairs": "pairing",
    "bands": "soft_label",
    "best_worst": "pairing",
    "cap_pairs": "repeats",
    "check_constraints": "constrain",
    "check_tests": "run_tests",
    "confident": "jury",
    "consensus": "agreement",
    "drop_suspicious": "steering",
    "exact_dedup": "dedup",
    "label_steps": "steps",
    "margin": "filters",
    "merge_pairs": "repeats",
    "min_score": "filters",
    "near_dedup": "dedup",
    "pair_steps": "steps",
    "rank_consistency": "agreement",
    "reused_answers": "repeats",
    "style_control": "style",
    "support": "consistency",
    "verify": "agreement",
}
"""The modules of stages that are not in a module of their own name."""

if not TYPE_CHECKING:  # to a type checker a misspelt name is an error, not Any

    def __getattr__(name: str) -> object:
        """Return the built-in stage with this class name."""
        from curate.errors import did_you_mean

        found = _classes()
        if name not in found:
            hint = "" if name.startswith("_") else did_you_mean(name, found)
            raise AttributeError(f"module 'curate.stages' has no attribute {name!r}{hint}")
        return found[name]

    def __dir__() -> list[str]:
        return sorted([*globals(), *_classes()])

    def _classes() -> dict[str, type]:
        from curate.stage import stage_registry

        kinds = map(stage_registry.get, stage_registry.names())
        return {k.__name__: k for k in kinds if k.__module__.startswith(f"{__name__}.")}
