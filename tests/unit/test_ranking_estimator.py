from sklearn.utils.estimator_checks import parametrize_with_checks

from audit.ranking import GeneralizationRanker


@parametrize_with_checks([GeneralizationRanker(cv=2)])
def test_ranker_passes_scikit_learn_check(estimator, check):
    check(estimator)
