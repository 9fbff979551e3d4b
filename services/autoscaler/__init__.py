"""The autoscaler: turns demand into machines. It owns every fact about machines.

It consumes the scheduler's demand as a *snapshot*, so that a lost or doubled message does no harm, and answers what it
sees and what it would do. Starting and ending machines is not in this version: with `--asr` the file is read and
checked, and the start-up says plainly that no machine will be started.

    main -> api -> handlers | adapters -> settings -> core
"""
