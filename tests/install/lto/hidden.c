/* A function between the files of the library only. */
int hidden_answer(void);

int
hidden_answer(void)
{
        return 42;
}
